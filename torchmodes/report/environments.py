"""The conditions of a run, read from environments in which any key may be absent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torchmodes.report.formatting import plural, size

_READINGS_SHOWN = 3
_VERSIONS = "versions"
_READINGS = {"machine.load_at_start"}


@dataclass(frozen=True, order=True)
class Machine:
    """What tells one machine from another in the records; empty where a record is silent."""

    host: str
    cpu: str
    cores: int
    gpu: str

    def __str__(self) -> str:
        hardware = self.hardware
        if self.host and hardware:
            return f"{self.host} ({hardware})"
        return self.host or hardware or "a machine that the records do not describe"

    @property
    def processor(self) -> str:
        """Processor and cores, as far as they are known."""
        cores = f", {plural(self.cores, 'core')}" if self.cores else ""
        return f"{self.cpu}{cores}" if self.cpu else ""

    @property
    def hardware(self) -> str:
        """Processor, cores and GPU, as far as they are known."""
        return " + ".join(filter(None, (self.processor, self.gpu)))


@dataclass(frozen=True)
class Condition:
    """One setting or reading, and its value in all records.

    Attributes
    ----------
    name
        Its path in the environment, such as ``machine.cpu``.
    values
        What was recorded, most frequent first; more than one where records differ.
    """

    name: str
    values: tuple[str, ...]

    @property
    def title(self) -> str:
        """The name as people read it: ``memory``, ``torch build: cuda``."""
        name = self.name.removesuffix("_bytes")
        if name.startswith("variables."):
            return name.removeprefix("variables.")
        for prefix in ("machine.", f"{_VERSIONS}."):
            name = name.removeprefix(prefix)
        return name.replace(".", ": ").replace("_", " ")

    @property
    def differs(self) -> bool:
        """Whether results were made under different values of it; readings always vary."""
        return len(self.values) > 1 and self.name not in _READINGS

    @property
    def text(self) -> str:
        """The value, or the values where records differ."""
        if len(self.values) <= _READINGS_SHOWN:
            return "; ".join(self.values)
        numbers = sorted(number for value in self.values if (number := _number(value)) is not None)
        if len(numbers) == len(self.values):
            return f"between {numbers[0]:.3g} and {numbers[-1]:.3g}"
        shown, more = self.values[:_READINGS_SHOWN], len(self.values) - _READINGS_SHOWN
        return f"{'; '.join(shown)} and {plural(more, 'other')}"


def machine_of(environment: Mapping[str, Any]) -> Machine:
    """Read which machine an environment describes."""
    machine, gpu = mapping(environment.get("machine")), mapping(environment.get("gpu"))
    cores = machine.get("cores_usable", machine.get("cores"))
    return Machine(
        host=str(machine.get("host") or ""),
        cpu=str(machine.get("cpu") or ""),
        cores=cores if isinstance(cores, int) and 0 <= cores < 2**31 else 0,
        gpu=str(gpu.get("name") or ""),
    )


def short_names(machines: Sequence[Machine]) -> dict[Machine, str]:
    """Return what to call each machine beside the others: its host where no other has that name."""
    hosts = Counter(machine.host for machine in machines)
    return {
        machine: machine.host if machine.host and hosts[machine.host] == 1 else str(machine)
        for machine in machines
    }


def conditions(environments: Iterable[Mapping[str, Any]]) -> list[Condition]:
    """Return every setting and version of some environments, those that differ included."""
    found: dict[str, Counter[str]] = {}
    for environment in environments:
        for name, value in _leaves(environment):
            found.setdefault(name, Counter())[value] += 1
    return [
        Condition(name, tuple(value for value, _ in values.most_common()))
        for name, values in found.items()
    ]


def made_with(conditions: Iterable[Condition]) -> str:
    """Say in one line what a run's times depend on: version, threads, instruction sets."""
    found = {condition.name: condition.text for condition in conditions}
    named = (
        ("versions.torch", "PyTorch {}"),
        ("variables.OMP_NUM_THREADS", "threads: {}"),
        ("machine.isa", "{}"),
    )
    return " · ".join(said.format(found[name]) for name, said in named if name in found)


def is_version(condition: Condition) -> bool:
    """Tell whether it is the version of a package."""
    return condition.name.startswith(f"{_VERSIONS}.")


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is, and anything else as an empty one."""
    return value if isinstance(value, Mapping) else {}


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        name = f"{path}{key}"
        if isinstance(item, Mapping):
            yield from _leaves(item, f"{name}.")
        elif item is not None:
            yield name, _text(name, item)


def _text(name: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return size(value) if name.endswith("_bytes") and isinstance(value, int) else str(value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
