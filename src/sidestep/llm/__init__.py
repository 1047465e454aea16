"""Language models that reason about candidates (GR2): chat, teachers, training, answers. The extra is `sidestep[llm]`;
its libraries are imported where they are used.
"""
