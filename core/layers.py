"""Reading configuration text, and laying one source over another.

Owns the file formats, the names of variables and the messages about keys and values; what the keys are
comes from the pydantic model that the caller hands over. Refuses to know what a key means.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from core.errors import ConfigError
from core.yamltext import LOADER, check_yaml

ENV_PREFIX = "ATHENA_"

REPLACED = {
    "trading.delisting_bars": "Set trading.delisting_sessions (default 60): after so many sessions of the "
    "calendar without a bar a holding is closed with trading.delisting_return_frac.",
}
"""Keys of earlier versions, each with the sentence that says what took its place."""
OTHER_VARIABLES = frozenset({"ATHENA_SHARED", "ATHENA_TESTS"})
"""Variables of that prefix that are no settings: where tests find data that is not shipped, and which run."""

NEAR = 0.75
"""From this share of equal letters on, a variable's name is a setting's with a slip."""

DEFAULT_ORIGIN = "default"
_SECRET = re.compile(r"password|passwd|secret|token$|api_?key|credential", re.IGNORECASE)
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of values: a nested mapping, and what to call the place where a key stands."""

    source: str
    tree: Mapping[str, Any]
    places: Mapping[str, str] = field(default_factory=dict)

    def place(self, dotted: str) -> str:
        return self.places.get(dotted, self.source)


@dataclass(frozen=True, slots=True)
class Resolved:
    """Leaf values by dotted key, and where each came from."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]

    def tree(self) -> dict[str, Any]:
        """The values as nested mappings."""
        root: dict[str, Any] = {}
        for dotted, value in self.values.items():
            *sections, key = dotted.split(".")
            branch = root
            for section in sections:
                branch = branch.setdefault(section, {})
            branch[key] = value
        return root


# --- what keys there are


@functools.cache
def leaf_schemas(model: type[BaseModel]) -> Mapping[str, Mapping[str, Any]]:
    """The JSON schema of every field that is no section, by dotted key."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})

    def walk(owner: type[BaseModel], node: Mapping[str, Any], prefix: str) -> Iterator[Any]:
        for name, info in owner.model_fields.items():
            leaf = node["properties"][name]
            if (section := as_section(info.annotation)) is not None:
                inner = definitions[leaf["$ref"].rsplit("/", 1)[1]] if "$ref" in leaf else leaf
                yield from walk(section, inner, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", leaf

    return dict(walk(model, schema, ""))


@functools.cache
def section_keys(model: type[BaseModel]) -> frozenset[str]:
    """The dotted keys of all sections."""
    found: set[str] = set()

    def walk(owner: type[BaseModel], prefix: str) -> None:
        for name, info in owner.model_fields.items():
            if (section := as_section(info.annotation)) is not None:
                found.add(f"{prefix}{name}")
                walk(section, f"{prefix}{name}.")

    walk(model, "")
    return frozenset(found)


def as_section(annotation: Any) -> type[BaseModel] | None:
    """The model class of a field that is a section, else None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def nearest(word: str, known: Sequence[str]) -> str:
    """The most similar of `known`; a dotted word is compared with its own section's keys first."""
    section, _, key = word.rpartition(".")
    siblings = {
        name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == section
    }
    if close := difflib.get_close_matches(key, list(siblings), n=1, cutoff=0.6):
        return siblings[close[0]]
    by_key = {name.rpartition(".")[2]: name for name in reversed(known)}
    if close := difflib.get_close_matches(key, list(by_key), n=1, cutoff=0.75):
        return by_key[close[0]]
    return difflib.get_close_matches(word, known, n=1, cutoff=0.0)[0]


def allowed(schema: Mapping[str, Any]) -> str:
    """A JSON schema of one value in words."""
    if "anyOf" in schema:
        return " or ".join(allowed(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(str(choice) for choice in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type")
    words = {
        "boolean": "true or false",
        "null": "null",
        "integer": "a whole number",
        "number": "a number",
        "string": "a path" if schema.get("format") == "path" else "text",
        "object": "a mapping",
    }.get(str(kind), "a value of the documented kind")
    if kind == "array":
        words = f"a list of: {allowed(schema.get('items', {}))}"
    bounds = [
        f"{phrase} {_plain(schema[key])}"
        for key, phrase in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if key in schema
    ]
    return ", ".join([words, *bounds])


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"


def shown(value: Any) -> str:
    """A value for a message, on one line, not too long."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


# --- sources


def file_layer(path: Path, json_text: bool = False) -> Layer:
    """A YAML file; a JSON one when its name ends in `.json` or the caller knows.

    Raises: ConfigError when it cannot be read, is not a mapping, or says a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"there is no config file {path}.", "Check the path given with -c."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text (byte {error.start}).", "Save it as UTF-8."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"the config file {path} cannot be read: {error.strerror or error}.",
            "Check the path given with -c.",
        ) from None
    if json_text or path.suffix.lower() == ".json":
        return json_layer(text, str(path))
    return yaml_layer(text, str(path))


def yaml_layer(text: str, source: str) -> Layer:
    loader = LOADER(text)
    try:
        check_yaml(text, source)
        node = loader.get_single_node()
        places: dict[str, str] = {}
        if node is not None:
            _note_places(node, "", source, places, ())
        tree = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(
            f"{where} is not valid YAML: {error.problem or error.context}.",
            "Correct that line; a list of values needs spaces, not tabs, before it.",
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"{source} is not valid YAML: {first_line}.", "Correct the file."
        ) from None
    finally:
        loader.dispose()
    return Layer(source, _mapping(tree, source), places)


def _note_places(
    node: yaml.Node, prefix: str, source: str, places: dict[str, str], above: tuple[int, ...]
) -> None:
    """Where each key stands, by line; refuses a key said twice and a mapping inside itself."""
    if not isinstance(node, yaml.MappingNode):
        return
    _keep_keys_as_text(node)
    if id(node) in above:
        raise ConfigError(
            f"{source}:{node.start_mark.line + 1} holds a mapping that contains itself.",
            "Write the values out instead of the alias.",
        )
    seen: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "(a list)"
        if key in seen:
            raise ConfigError(
                f"{source}:{line} says {prefix}{key} a second time (first in line {seen[key]}).",
                "Keep one of the two.",
            )
        seen[key] = line
        places[f"{prefix}{key}"] = f"{source}:{line}"
        _note_places(value_node, f"{prefix}{key}.", source, places, (*above, id(node)))


def _keep_keys_as_text(node: yaml.MappingNode) -> None:
    """Keys are names: 0050, NO, TRUE and NULL are symbols, not 40, false, true and nothing."""
    for key_node, _ in node.value:
        if isinstance(key_node, yaml.ScalarNode) and key_node.tag != _MERGE:
            key_node.tag = _TEXT


def json_layer(text: str, source: str) -> Layer:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ConfigError(f"{source} says {key} a second time.", "Keep one of the two.")
            found[key] = value
        return found

    try:
        tree = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{source}:{error.lineno} is not valid JSON: {error.msg}.", "Correct that line."
        ) from None
    except RecursionError:
        raise ConfigError(f"{source} is nested too deep.", "Correct the file.") from None
    return Layer(source, _mapping(tree, source))


def _mapping(tree: Any, source: str) -> Mapping[str, Any]:
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{source} holds {shown(tree)}, not a mapping of keys to values.",
            "Write lines like `seed: 1`, and a section's keys indented below its name.",
        )
    return tree


def env_layer(model: type[BaseModel], env: Mapping[str, str]) -> Layer:
    """The variables `ATHENA_SECTION__KEY`; one that is empty counts as not set.

    Others with that prefix are passed over (`foreign_variables`), unless they are near a setting's name.
    """
    schemas = leaf_schemas(model)
    names = {f"{ENV_PREFIX}{key.replace('.', '__').upper()}": key for key in schemas}
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for variable, text in sorted(env.items()):
        if not variable.startswith(ENV_PREFIX) or variable in OTHER_VARIABLES:
            continue
        dotted = names.get(variable.upper())
        if dotted is None and not _meant_for_us(variable, names):
            continue
        if dotted is None:
            key = variable[len(ENV_PREFIX) :].replace("__", ".").lower()
            _refuse_secret(key, f"the variable {variable}")
            _refuse_old(key, f"the variable {variable}")
            near = difflib.get_close_matches(variable.upper(), list(names), n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"the variable {variable} is no setting.",
                f"The nearest is {near}; unset {variable} or correct its name.",
            )
        if text.strip():
            values[dotted] = _scalar(text, schemas[dotted], f"the variable {variable}")
            places[dotted] = variable
    return Layer("the environment", Resolved(values, {}).tree(), places)


def foreign_variables(model: type[BaseModel], env: Mapping[str, str]) -> list[str]:
    """Variables that begin with our prefix and are somebody else's: a cloud service's ATHENA_WORKGROUP."""
    names = {f"{ENV_PREFIX}{key.replace('.', '__').upper()}" for key in leaf_schemas(model)}
    return sorted(
        variable
        for variable in env
        if variable.startswith(ENV_PREFIX)
        and variable not in OTHER_VARIABLES
        and variable.upper() not in names
        and not _meant_for_us(variable, names)
    )


def _meant_for_us(variable: str, names: Iterable[str]) -> bool:
    """Whether a variable is a setting with a slip: it has `__`, or it is near a real one's name."""
    bare = variable[len(ENV_PREFIX) :].upper()
    known = {name[len(ENV_PREFIX) :].replace("__", "_") for name in names}
    return "__" in bare or bool(difflib.get_close_matches(bare, known, n=1, cutoff=NEAR))


def set_layer(model: type[BaseModel], assignments: Sequence[str]) -> Layer:
    """`--set section.key=value`, the value read as a YAML scalar; the last of a key wins."""
    schemas = leaf_schemas(model)
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(
                f"--set {assignment} is not of the form section.key=value.",
                "For example: --set trading.commission_bps=1.5",
            )
        if key not in schemas:
            raise _unknown(model, key, "--set")
        values[key] = _scalar(text, schemas[key], f"--set {key}")
    return Layer("--set", Resolved(values, {}).tree())


def option_layer(options: Mapping[str, Any]) -> Layer:
    """Top-level keys that were given by options of their own: `runs_dir` by `--runs-dir`."""
    return Layer(
        "the command line", options, {key: f"--{key.replace('_', '-')}" for key in options}
    )


def _scalar(text: str, schema: Mapping[str, Any], source: str) -> Any:
    """A value from a command line or a variable: as YAML reads it, or the bare text for text keys."""
    try:
        if not _admits(schema, "string"):
            check_yaml(text, source)
        value = _yaml_value(text)
    except (yaml.YAMLError, ValueError) as error:
        if _admits(schema, "string"):
            return text
        raise ConfigError(
            f"{source} has the value {shown(text)}, which cannot be read.",
            f"Give {allowed(schema)}.",
        ) from error
    if _admits(schema, "string") and not isinstance(value, str):
        return None if value is None and _admits(schema, "null") else text
    return value


def _yaml_value(text: str) -> Any:
    """As `yaml.safe_load`, with the keys of mappings as they are written."""
    loader = LOADER(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        waiting, seen = [node], set[int]()
        while waiting:
            each = waiting.pop()
            if id(each) in seen:
                continue
            seen.add(id(each))
            if isinstance(each, yaml.MappingNode):
                _keep_keys_as_text(each)
                waiting += [value for _, value in each.value]
            elif isinstance(each, yaml.SequenceNode):
                waiting += each.value
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _admits(schema: Mapping[str, Any], kind: str) -> bool:
    return schema.get("type") == kind or any(
        _admits(choice, kind) for choice in schema.get("anyOf", ())
    )


# --- laying one over another


def resolve(model: type[BaseModel], layers: Sequence[Layer]) -> Resolved:
    """Later layers win, key by key. A section that is empty (null) counts as not said.

    Raises: ConfigError for a key that the model does not have, or a section that is no mapping.
    """
    values: dict[str, Any] = {}
    origins = dict.fromkeys(leaf_schemas(model), DEFAULT_ORIGIN)
    for layer in layers:
        for dotted, value in _leaves(model, layer, layer.tree, ""):
            values[dotted] = value
            origins[dotted] = layer.place(dotted)
    return Resolved(values, origins)


def _leaves(
    model: type[BaseModel], layer: Layer, branch: Mapping[Any, Any], prefix: str
) -> Iterator[tuple[str, Any]]:
    sections, schemas = section_keys(model), leaf_schemas(model)
    for key, value in branch.items():
        dotted = f"{prefix}{key}"
        if dotted in sections:
            if value is None:
                continue
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{dotted} ({layer.place(dotted)}) is {shown(value)}, but it is a section.",
                    "Give its keys, indented below its name.",
                )
            yield from _leaves(model, layer, value, f"{dotted}.")
        elif dotted in schemas:
            yield dotted, value
        else:
            raise _unknown(model, dotted, layer.place(dotted))


def _unknown(model: type[BaseModel], dotted: str, place: str) -> ConfigError:
    if dotted in section_keys(model):
        return ConfigError(
            f"{dotted} ({place}) is a section, not a value.",
            f"Name one of its keys, for example {nearest(dotted + '.', list(leaf_schemas(model)))}.",
        )
    _refuse_secret(dotted, place)
    _refuse_old(dotted, place)
    sections = [] if "." in dotted else sorted(section_keys(model))
    near = nearest(dotted, [*leaf_schemas(model), *sections])
    return ConfigError(
        f"unknown key {dotted} ({place}).",
        f"The nearest known key is {near}; `athena config schema` lists all.",
    )


def _refuse_old(dotted: str, place: str) -> None:
    """Raises: ConfigError that names the setting which took an old one's place."""
    if dotted in REPLACED:
        raise ConfigError(f"there is no {dotted} any more ({place}).", REPLACED[dotted])


def _refuse_secret(dotted: str, place: str) -> None:
    """Secrets stand in no file, no --set and no ATHENA_ variable, since those are written to manifests."""
    name = dotted.rpartition(".")[2]
    if _SECRET.search(name):
        raise ConfigError(
            f"{dotted} ({place}) is a secret; secrets are no settings and are never written out.",
            f"Remove it, and set the environment variable {name.upper()} instead.",
        )


def explain(
    error: ValidationError, model: type[BaseModel], origins: Mapping[str, str]
) -> ConfigError:
    """The first wrong value with what is allowed; further ones by name."""
    schemas, sections = leaf_schemas(model), section_keys(model)
    faults: dict[str, tuple[Any, str]] = {}
    inner: dict[str, str] = {}  # of a mapping's value the key below the setting
    for fault in error.errors(include_url=False):
        parts = [str(part) for part in fault["loc"]]
        below: list[str] = []
        while parts and ".".join(parts) not in schemas and ".".join(parts) not in sections:
            below.insert(0, parts.pop())
        inner.setdefault(".".join(parts), below[0] if below else "")
        own = fault["type"] == "value_error"
        reason = str(fault["ctx"]["error"]) if own else ""
        faults.setdefault(".".join(parts), (fault["input"], reason))
    (dotted, (found, reason)), *others = faults.items()
    more = f" Also wrong: {', '.join(name for name, _ in others)}." if others else ""
    if dotted not in schemas:
        return ConfigError(
            f"the values of {dotted or 'the configuration'} do not fit together: {reason}.{more}",
            "`athena config show` prints them and where each came from.",
        )
    because = f": {reason}" if reason else ""
    schema, name = schemas[dotted], dotted
    if inner[dotted] and isinstance(schema.get("additionalProperties"), dict):
        schema, name = schema["additionalProperties"], f"{dotted}.{inner[dotted]}"
    cure = allowed(schema)
    if cure == "text" and isinstance(found, bool | int | float):
        cure = 'text; YAML reads NO and 50 as other kinds of value, so write them in quotes: "NO"'
    return ConfigError(
        f"{name} is {shown(found)} ({origins.get(dotted, DEFAULT_ORIGIN)}), "
        f"which is not allowed{because}.",
        f"Give {cure}.{more}",
    )
