"""Which folds of a corpus train, validate and test: stated once per corpus, read by everything that names a fold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import CorpusError

__all__ = ["FoldRoles", "Role", "default_fold_roles", "describe_folds"]

Role = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class FoldRoles:
    """Roles of the folds of a corpus. A fold without a role is used only where its number is given.

    Args:
        train: Numbers of the training folds.
        validation: Numbers of the validation folds; empty where the corpus has none.
        test: Numbers of the test folds; empty where the corpus has none.

    Raises:
        CorpusError: A fold has two roles.

    Example:
        >>> ptbxl = FoldRoles(train=tuple(range(1, 9)), validation=(9,), test=(10,))
        >>> ptbxl.role_of([10]), ptbxl.role_of([9, 10]), ptbxl.reported
        ('test', None, (9,))
    """

    train: tuple[int, ...]
    validation: tuple[int, ...] = ()
    test: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Checks that no fold has two roles."""
        folds = [*self.train, *self.validation, *self.test]
        if len(set(folds)) != len(folds):
            raise CorpusError(
                f"the folds {list(self.train)} train, {list(self.validation)} validate and {list(self.test)} test; "
                "expected one role per fold."
            )

    @property
    def reported(self) -> tuple[int, ...]:
        """Folds that are reported by default: the validation folds, or the test folds where there are none."""
        return self.validation or self.test

    def role_of(self, folds: Iterable[int]) -> Role | None:
        """The role that all of these folds share; None if there is no such role, or no fold."""
        wanted = set(folds)
        roles: tuple[Role, ...] = ("train", "validation", "test")
        return next((role for role in roles if wanted and wanted <= set(getattr(self, role))), None)

    def to_dict(self) -> dict[str, list[int]]:
        """The roles as written to `corpus.json`."""
        return {"train": list(self.train), "validation": list(self.validation), "test": list(self.test)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FoldRoles":
        """The roles from `corpus.json`."""
        return cls(tuple(values["train"]), tuple(values["validation"]), tuple(values["test"]))


def default_fold_roles(folds: Iterable[int]) -> FoldRoles | None:
    """Roles of folds that no publication has defined, such as those of a user's own table.

    With three or more folds the last one is the test fold, the one before it the validation fold, and all others are
    training folds. With two, the first is the training fold and the second the validation fold.

    Args:
        folds: Numbers of the folds that occur, in any order; -1 (no fold) is ignored.

    Returns:
        The roles; None with fewer than two folds.

    Example:
        >>> default_fold_roles([3, 1, 2, -1])
        FoldRoles(train=(1,), validation=(2,), test=(3,))
    """
    known = sorted(set(folds) - {-1})
    if len(known) < 2:
        return None
    if len(known) == 2:
        return FoldRoles((known[0],), (known[1],))
    return FoldRoles(tuple(known[:-2]), (known[-2],), (known[-1],))


def describe_folds(folds: Sequence[int], roles: FoldRoles | None) -> str:
    """Folds for the screen and the card: with their role if it is validation or test, else by number alone.

    Without any number: all records.

    Example:
        >>> ptbxl = FoldRoles(train=tuple(range(1, 9)), validation=(9,), test=(10,))
        >>> describe_folds([9], ptbxl), describe_folds([9, 10], ptbxl)
        ('validation (fold 9)', 'folds 9, 10')
    """
    if not folds:
        return "all records"
    role = None if roles is None else roles.role_of(folds)
    numbers = f"fold{'' if len(folds) == 1 else 's'} {', '.join(map(str, folds))}"
    return numbers if role in (None, "train") else f"{role} ({numbers})"
