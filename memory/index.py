"""The cached columns of a store: what the log says, laid out for fast gating and ranking.

Fed with operation records in order and never asked to forget (a purge or rebuild starts a new index).
Postings and vectors are taken in only when a search needs them. Refuses to know stores and ranking.

Shapes: R rows, one per version, in the order of the log.
"""

from __future__ import annotations

import itertools
from array import array
from bisect import bisect_right, insort
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from core.memories import (
    FOREVER,
    Branch,
    Closing,
    Edge,
    Lineage,
    OperationRecord,
    StoredVector,
    Version,
)
from memory.retrieval import FEW, Corpus, products, term_counts, tokens

if TYPE_CHECKING:
    from memory.retrieval import BoolArray, Float32Array, Int32Array, IntArray, Posting

Filter = Mapping[str, Any]
_MAX_VIEWS = 256
_MAX_SCANS = 64
_NONE = np.empty(0, np.int64)
_A_FEW = 16  # so many new rows are looked at one by one
_MANY = 2_000  # so many new texts are taken in at once
_ROWS_AT_ONCE = 50_000  # whose words are sorted together: some 20 MB meanwhile


class Growing:
    """An append-only int64 column with room to spare."""

    __slots__ = ("_data", "size")

    def __init__(self) -> None:
        self._data = np.empty(64, np.int64)
        self.size = 0

    def append(self, value: int) -> None:
        if self.size == len(self._data):
            self._data = np.concatenate([self._data, np.empty_like(self._data)])
        self._data[self.size] = value
        self.size += 1

    def extend(self, values: IntArray) -> None:
        needed = self.size + len(values)
        if needed > len(self._data):
            grown = np.empty(max(needed, 2 * len(self._data)), np.int64)
            grown[: self.size] = self.values
            self._data = grown
        self._data[self.size : needed] = values
        self.size = needed

    @property
    def values(self) -> IntArray:
        return self._data[: self.size]


class _Postings:
    """The words of many texts: the rows with a word lie together, from the end of the word before it.

    Made by sorting, in less than half of the time that one array for each word takes.
    """

    __slots__ = ("_ends", "_numbers", "_rows", "_times")

    def __init__(
        self, numbers: Mapping[str, int], ends: list[int], rows: Int32Array, times: Int32Array
    ) -> None:
        self._numbers = numbers
        self._ends = ends
        self._rows = rows
        self._times = times

    @staticmethod
    def of(texts: Sequence[str], first_row: int) -> tuple[_Postings, IntArray]:
        """The postings of texts whose rows follow on one another, and each text's number of words."""
        numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
        words: list[int] = []
        lengths = np.empty(len(texts), np.int64)
        for place, text in enumerate(texts):
            found = tokens(text)
            lengths[place] = len(found)
            words += map(numbers.__getitem__, found)
        # A word's number and a row as one number.
        places = np.array(words, np.int64) * len(texts) + np.repeat(np.arange(len(texts)), lengths)
        places, times = np.unique(places, return_counts=True)
        ends = np.searchsorted(places, np.arange(len(numbers) + 1) * len(texts))
        rows = (places % len(texts) + first_row).astype(np.int32)
        return _Postings(dict(numbers), ends.tolist(), rows, times.astype(np.int32)), lengths

    def rows_with(self, word: str) -> tuple[Int32Array, Int32Array] | None:
        number = self._numbers.get(word)
        if number is None:
            return None
        inside = slice(self._ends[number], self._ends[number + 1])
        return self._rows[inside], self._times[inside]


class MemoryIndex:
    """Columns over all branches and namespaces of one store."""

    def __init__(self, model_id: str, dimension: int) -> None:
        self.model_id = model_id
        self.sequence = 0
        self.versions: list[Version] = []
        self.row_of: dict[str, int] = {}
        self.rows_of_entry: dict[str, list[int]] = {}
        self.foreign_models: Counter[str] = Counter()
        self.vector_sequence = 0
        self.kinds: dict[tuple[str, str, str], array[int]] = {}
        self.visible_from = Growing()
        self.place = Growing()
        self.branch_codes = Growing()
        self.namespace_codes = Growing()
        self.closing_rows = Growing()
        self.closing_place = Growing()
        self.closing_branches = Growing()
        self.closing_hidden = Growing()
        self._codes: dict[str, int] = {}
        self._outcome_known = Growing()
        self._lengths = Growing()
        self._words_in_all = 0
        self._matrix: Float32Array = np.zeros((64, dimension), np.float32)
        self._scans: OrderedDict[bytes, Float32Array] = OrderedDict()
        self._postings: dict[str, tuple[array[int], array[int]]] = {}
        self._bulks: list[_Postings] = []
        self._facets: dict[tuple[str, bytes], array[int]] = {}
        self._closings_of: dict[str, list[Closing]] = defaultdict(list)
        self._standing_in: dict[str, list[tuple[int, int]]] = {}
        self._edges_of: dict[str, list[Edge]] = defaultdict(list)
        self._views: OrderedDict[tuple[str, str], _View] = OrderedDict()

    def take(self, records: Iterable[OperationRecord]) -> None:
        """Add operations, in the order of the log; those taken before are passed over."""
        for record in records:
            if record.sequence <= self.sequence:
                continue
            for version in record.opened:
                self._add(version)
            for closing in record.closed:
                self._close(closing)
            for edge in record.linked:
                self._edges_of[edge.from_entry].append(edge)
                self._edges_of[edge.to_entry].append(edge)
            kind = (record.namespace, record.kind, record.branch)
            self.kinds.setdefault(kind, array("q")).append(record.sequence)
            self.sequence = record.sequence

    def counts(self, namespace: str, lineage: Lineage) -> dict[str, int]:
        """Operations by kind that a branch has seen in a namespace, kinds in alphabetical order."""
        found: Counter[str] = Counter()
        for (name, kind, branch), sequences in sorted(self.kinds.items()):
            if name == namespace:
                found[kind] += sum(lineage.sees(branch, each) for each in sequences)
        return {kind: count for kind, count in found.items() if count}

    def _add(self, version: Version) -> None:
        row = len(self.versions)
        self.versions.append(version)
        self.row_of[version.version_id] = row
        self.rows_of_entry.setdefault(version.entry_id, []).append(row)
        self.visible_from.append(version.visible_from)
        self._outcome_known.append(version.outcome_at is not None)
        self.place.append(version.sequence)
        self.branch_codes.append(self.code(version.branch))
        self.namespace_codes.append(self.code(version.namespace) if version.content else -1)
        self._facet("source", version.source, row)
        for name, value in version.metadata.items():
            if name == "source":  # only the entry's own source answers to that name in a filter
                continue
            for item in value if isinstance(value, list) else [value]:
                self._facet(name, item, row)

    def _close(self, closing: Closing) -> None:
        self._closings_of[closing.target].append(closing)
        row = self.row_of.get(closing.target)
        if row is None:
            return
        self._end_row(row, closing)
        # The end of a version is also the latest end of every older one that stands in until then.
        standing_in = self._standing_in.setdefault(self.versions[row].entry_id, [])
        for _, older in standing_in[bisect_right(standing_in, (closing.hidden_from, FOREVER)) :]:
            if older < row:
                version_id = self.versions[older].version_id
                self._closings_of[version_id].append(replace(closing, target=version_id))
                self._end_row(older, closing)
        if closing.hidden_from > closing.recorded_to:
            insort(standing_in, (closing.hidden_from, row))

    def _end_row(self, row: int, closing: Closing) -> None:
        self.closing_rows.append(row)
        self.closing_place.append(closing.sequence)
        self.closing_branches.append(self.code(closing.branch))
        self.closing_hidden.append(closing.hidden_from)

    def code(self, name: str) -> int:
        """A small number for the name of a branch or namespace."""
        return self._codes.setdefault(name, len(self._codes))

    def _facet(self, name: str, value: Any, row: int) -> None:
        key = (name, orjson.dumps(value))
        if key not in self._facets:
            self._facets[key] = array("i")
        self._facets[key].append(row)

    def take_vectors(self, vectors: Iterable[StoredVector], reached: int) -> None:
        """Add embeddings, all of those up to operation `reached`. Vectors of another model are counted
        and never compared."""
        total = len(self.versions)
        if total > len(self._matrix):
            grown = np.zeros((max(total, 2 * len(self._matrix)), self._matrix.shape[1]), np.float32)
            grown[: len(self._matrix)] = self._matrix
            self._matrix = grown
        for vector in vectors:
            if vector.model_id != self.model_id:
                self.foreign_models[vector.model_id] += 1
            elif (row := self.row_of.get(vector.version_id)) is not None:
                self._matrix[row] = np.frombuffer(vector.data, "<f4")
        self.vector_sequence = max(self.vector_sequence, reached)

    def _take_text(self) -> None:
        """Take in the words of the rows that have none yet; a log's first reading all at once."""
        start, end = self._lengths.size, len(self.versions)
        if end - start >= _MANY and 4 * (end - start) >= end:
            while start < end:
                texts = [v.content for v in self.versions[start : start + _ROWS_AT_ONCE]]
                postings, lengths = _Postings.of(texts, start)
                self._bulks.append(postings)
                self._lengths.extend(lengths)
                self._words_in_all += int(lengths.sum())
                start += len(texts)
        for row in range(start, end):
            counts, size = term_counts.__wrapped__(self.versions[row].content)
            self._lengths.append(size)
            self._words_in_all += size
            for term, count in counts.items():
                posting = self._postings.get(term)
                if posting is None:
                    posting = self._postings[term] = (array("i"), array("i"))
                posting[0].append(row)
                posting[1].append(count)

    def _words(self, row: int) -> tuple[Mapping[str, int], int]:
        return term_counts(self.versions[row].content)

    def postings(self, term: str) -> Posting:
        """Rows with a term, ascending, and how often it stands there."""
        parts: list[Posting] = [part for bulk in self._bulks if (part := bulk.rows_with(term))]
        if (later := self._postings.get(term)) is not None:
            parts.append(later)
        if len(parts) < 2:
            return parts[0] if parts else ((), ())
        rows, times = zip(*parts, strict=True)
        return np.concatenate(rows), np.concatenate(times)

    def _view(self, branch: str, namespace: str, branches: Mapping[str, Branch]) -> _View:
        key = (branch, namespace)
        view = self._views.get(key)
        if view is None:
            view = _View(Lineage.of(branch, branches), namespace, self)
            forked = branches[branch]
            if forked.parent is not None:
                parent = self._views.get((forked.parent, namespace))
                if parent is None:
                    parent = _View(Lineage.of(forked.parent, branches), namespace, self)
                    self._keep(forked.parent, namespace, parent)
                parent.follow()
                view.begin_as(parent, forked.fork_sequence)
            self._keep(branch, namespace, view)
        else:
            self._views.move_to_end(key)
        view.follow()
        return view

    def _keep(self, branch: str, namespace: str, view: _View) -> None:
        self._views[branch, namespace] = view
        if len(self._views) > _MAX_VIEWS:
            self._views.popitem(last=False)

    def visible(
        self,
        branch: str,
        namespace: str,
        branches: Mapping[str, Branch],
        as_of: int,
        where: Filter | None = None,
    ) -> IntArray:
        """Rows seen at `as_of` by this branch in this namespace that fit the filter, ascending."""
        view = self._view(branch, namespace, branches)
        rows = view.rows.values
        if not view.last_shown <= as_of < view.first_hidden:
            rows = rows[(view.shown.values <= as_of) & (view.hidden.values > as_of)]
        for name, wanted in (where or {}).items():
            fits = np.zeros(len(self.versions), np.bool_)
            for value in wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]:
                found = self._facets.get((name, orjson.dumps(value)))
                if found is not None:
                    fits[np.array(found, np.int32)] = True
            rows = rows[fits[rows]]
        return rows

    def open_versions(
        self, branch: str, namespace: str, branches: Mapping[str, Branch]
    ) -> list[Version]:
        """Versions that nothing has closed in this branch, whatever the time; oldest first."""
        view = self._view(branch, namespace, branches)
        return [self.versions[row] for row in view.rows.values[view.hidden.values == FOREVER]]

    def corpus(
        self,
        branch: str,
        namespace: str,
        branches: Mapping[str, Branch],
        as_of: int,
        where: Filter | None = None,
    ) -> Corpus:
        """Everything a search may see at `as_of`, and nothing else."""
        rows = self.visible(branch, namespace, branches, as_of, where)
        lineage = self._views[branch, namespace].lineage
        total = len(self.versions)
        if len(rows) > FEW:
            self._take_text()
            lengths = self._lengths.values
            words = int(lengths[rows].sum()) if len(rows) < total else self._words_in_all
        else:
            lengths = _NONE
            words = sum(self._words(row)[1] for row in rows.tolist())

        def neighbours(row: int) -> Sequence[int]:
            return self._neighbour_rows(row, lineage, rows, as_of)

        return Corpus(
            as_of=as_of,
            rows=rows,
            total=total,
            matrix=self._matrix,
            lengths=lengths,
            visible_from=self.visible_from.values,
            outcome_known=self._outcome_known.values,
            postings=self.postings,
            words=self._words,
            neighbours=neighbours,
            average_length=max(words / max(len(rows), 1), 1e-9),
            scan=self._scan,
        )

    def _scan(self, vectors: Sequence[Float32Array]) -> list[Float32Array]:
        """Products of all rows with each vector, [R] each: what was asked of late is computed for new rows
        only, since rows never change. Ask after `take_vectors` alone."""
        total = len(self.versions)
        keys = [vector.tobytes() for vector in vectors]
        fresh = [place for place, key in enumerate(keys) if key not in self._scans]
        if fresh:
            asked = products(self._matrix[:total], [vectors[place] for place in fresh])
            self._scans.update(zip([keys[place] for place in fresh], asked, strict=True))
        found = []
        for key, vector in zip(keys, vectors, strict=True):
            known = self._scans[key]
            if len(known) < total:
                rest = self._matrix[len(known) : total] @ vector
                known = self._scans[key] = np.concatenate([known, rest])
            self._scans.move_to_end(key)
            found.append(known)
        while len(self._scans) > _MAX_SCANS:
            self._scans.popitem(last=False)
        return found

    def edges(self, entry_id: str, lineage: Lineage, as_of: int) -> list[Edge]:
        """Edges of an entry that stand at `as_of` in this lineage, oldest first."""
        return [
            edge
            for edge in self._edges_of.get(entry_id, ())
            if lineage.sees(edge.branch, edge.sequence)
            and edge.recorded_from <= as_of
            and not any(
                lineage.sees(closing.branch, closing.sequence) and closing.hidden_from <= as_of
                for closing in self._closings_of.get(edge.edge_id, ())
            )
        ]

    def closing(self, target: str, lineage: Lineage, as_of: int) -> Closing | None:
        """How a version (or one it stood in for) ended in this lineage, as recorded by `as_of`."""
        seen = [
            closing
            for closing in self._closings_of.get(target, ())
            if lineage.sees(closing.branch, closing.sequence) and closing.recorded_to <= as_of
        ]
        return replace(seen[0], hidden_from=min(c.hidden_from for c in seen)) if seen else None

    def _neighbour_rows(
        self, row: int, lineage: Lineage, rows: IntArray, as_of: int
    ) -> Sequence[int]:
        entry_id = self.versions[row].entry_id
        if entry_id not in self._edges_of:
            return ()
        found: dict[int, None] = {}
        for edge in self.edges(entry_id, lineage, as_of):
            other = edge.to_entry if edge.from_entry == entry_id else edge.from_entry
            for each in self.rows_of_entry.get(other, ()):
                place = int(np.searchsorted(rows, each))
                if place < len(rows) and rows[place] == each:
                    found[each] = None
        return list(found)


class _View:
    """The rows of one branch and namespace with the times between which each is seen.

    A branch sees its ancestors only up to its fork, so new rows and closings can only be its own and the
    view grows in step with the index.
    """

    def __init__(self, lineage: Lineage, namespace: str, index: MemoryIndex) -> None:
        self.lineage = lineage
        self._index = index
        self._namespace = namespace
        self._limits = {index.code(name): limit for name, limit in lineage.limits.items()}
        self._versions_read = 0
        self._closings_read = 0
        self._last_closing = 0
        self.rows = Growing()
        self.shown = Growing()
        self.hidden = Growing()
        self.last_shown = -FOREVER
        """From here on every row is seen, until `first_hidden`."""
        self.first_hidden = FOREVER

    def begin_as(self, parent: _View, limit: int) -> None:
        """Take over what the parent's view, followed this far, knew at the fork, if it can still tell."""
        if parent._last_closing > limit:
            return
        size = parent.rows.size
        while size and self._index.place.values[parent.rows.values[size - 1]] > limit:
            size -= 1
        self.rows.extend(parent.rows.values[:size])
        self.shown.extend(parent.shown.values[:size])
        self.hidden.extend(parent.hidden.values[:size])
        self._last_closing = parent._last_closing
        self.last_shown, self.first_hidden = parent.last_shown, parent.first_hidden
        # The branch's own operations come after its fork.
        places, closings = self._index.place.values, self._index.closing_place.values
        self._versions_read = int(np.searchsorted(places, limit, "right"))
        self._closings_read = int(np.searchsorted(closings, limit, "right"))

    def follow(self) -> None:
        """Take in what the index has taken in since."""
        index = self._index
        start, end = self._versions_read, len(index.versions)
        if end - start > _A_FEW:
            self._add_rows(start)
        else:
            for row in range(start, end):
                version = index.versions[row]
                inside = self.lineage.sees(version.branch, version.sequence)
                if inside and version.namespace == self._namespace and version.content:
                    self.rows.append(row)
                    self.shown.append(version.visible_from)
                    self.hidden.append(FOREVER)
                    self.last_shown = max(self.last_shown, version.visible_from)
        self._versions_read = end
        start, end = self._closings_read, index.closing_rows.size
        if end - start > _A_FEW:
            self._end_rows(start)
        else:
            for closing in range(start, end):
                sequence = int(index.closing_place.values[closing])
                if sequence <= self._limits.get(int(index.closing_branches.values[closing]), -1):
                    row = index.closing_rows.values[closing]
                    place = int(np.searchsorted(self.rows.values, row))
                    if place < self.rows.size and self.rows.values[place] == row:
                        hidden = min(
                            self.hidden.values[place], index.closing_hidden.values[closing]
                        )
                        self.hidden.values[place] = hidden
                        self.first_hidden = min(self.first_hidden, int(hidden))
                        self._last_closing = sequence
        self._closings_read = end

    def _add_rows(self, start: int) -> None:
        index = self._index
        inside = self._inside(index.branch_codes, index.place, start)
        inside &= index.namespace_codes.values[start:] == index.code(self._namespace)
        rows = np.flatnonzero(inside) + start
        shown = index.visible_from.values[rows]
        self.last_shown = max(self.last_shown, int(shown.max(initial=-FOREVER)))
        self.rows.extend(rows)
        self.shown.extend(shown)
        self.hidden.extend(np.full(len(rows), FOREVER))

    def _end_rows(self, start: int) -> None:
        index = self._index
        inside = self._inside(index.closing_branches, index.closing_place, start)
        targets = index.closing_rows.values[start:][inside]
        places = np.searchsorted(self.rows.values, targets)
        known = places < self.rows.size
        known[known] = self.rows.values[places[known]] == targets[known]
        if known.any():
            hidden_from = index.closing_hidden.values[start:][inside][known]
            np.minimum.at(self.hidden.values, places[known], hidden_from)
            self.first_hidden = min(self.first_hidden, int(hidden_from.min()))
            self._last_closing = int(index.closing_place.values[start:][inside][known][-1])

    def _inside(self, branches: Growing, sequences: Growing, start: int) -> BoolArray:
        codes, places = branches.values[start:], sequences.values[start:]
        inside = np.zeros(len(codes), np.bool_)
        for code, limit in self._limits.items():
            inside |= (codes == code) & (places <= limit)
        return inside
