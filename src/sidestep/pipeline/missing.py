"""What a method needs of a log and a catalogue, and they have not."""

from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions
from sidestep.errors import ConfigError
from sidestep.methods.recipe import Recipe
from sidestep.methods.table import method_of


def refuse(recipe: Recipe, interactions: Interactions, catalog: Catalog) -> None:
    """Raises:
    ConfigError: the log or the catalogue has not what the run's method needs.
    """
    method = method_of(recipe)
    needs, name = method.needs, recipe.method
    if needs.times and not interactions.absolute_times:
        raise ConfigError(
            f"Method {name!r} needs times that can be compared between users, and this log has none; name a column "
            "of absolute times in data.time"
        )
    time = method.time(recipe)
    if time.needs_calendar and not interactions.absolute_times:
        raise ConfigError(
            f"time.fields = {list(time.fields)} need times that tell the hour and the day, and this log has none; "
            'name a column of absolute times in data.time, or take time.fields=["gap"]'
        )
    if time.told and interactions.times is None:
        raise ConfigError(f"Method {name!r} is told times, and this log has none; name their column in data.time")
    if needs.text and not any(catalog.texts or ()):
        raise ConfigError(f"Method {name!r} needs texts and no item has any; name their columns in data.text_fields")
