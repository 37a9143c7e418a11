"""What the tables of the configuration file have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._-]+$")]
FieldName = Annotated[str, Field(min_length=1)]  # of an event


class Section(BaseModel):
    """A table of the configuration file: immutable, and closed to names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
