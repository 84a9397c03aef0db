"""Cut graphs of neighbouring locations into connected patches of nearly equal size.

A set of n locations is cut in two: with two locations s1 and s2 that are far apart, and geodesic
distances d1 and d2 to them within the set, the locations are sorted by ``d1 - d2`` (then by d1) and
cut where the sizes are in proportion to whole patches. On the shortest path of a location to s1,
``d1 - d2`` never rises and d1 falls, so that the first part is connected if the set is. What the
cut leaves of the second part without a connection to s2 goes to the first, which it touches. The
parts are cut again until each is one patch. Distances are whole micrometres: their sums are exact,
and the patches equal on every machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import InputError

_UNITS_PER_MM = 1000
_FACES = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def surface_graph(
    xyz: npt.NDArray[np.float64],
    triangles: npt.NDArray[np.int64],
    vertices: npt.NDArray[np.int64],
) -> Any:
    """Build the graph of some vertices of a surface: edges with their lengths.

    Parameters
    ----------
    xyz : ndarray, (n, 3) float64
        Coordinates of all vertices, mm.
    triangles : ndarray, (m, 3) int64
    vertices : ndarray, (V,) int64
        Vertices with data.

    Returns
    -------
    csr_array, (V, V) float64
        Micrometres, whole numbers. Parts without a connection to the largest are joined to its
        nearest vertex.
    """
    place = np.full(len(xyz), -1)
    place[vertices] = np.arange(len(vertices))
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    pairs = place[pairs]
    pairs = pairs[(pairs >= 0).all(axis=1)]
    return _graph(pairs, xyz[vertices])


def voxel_graph(voxels: npt.NDArray[np.int64], affine: npt.NDArray[np.float64]) -> Any:
    """Build the graph of voxels that share a face; as :func:`surface_graph`.

    Parameters
    ----------
    voxels : ndarray, (V, 3) int64
        (i, j, k).
    affine : ndarray, (4, 4) float64
        Voxel to world mm.
    """
    low = voxels.min(axis=0)
    size = voxels.max(axis=0) - low + 2
    flat = np.ravel_multi_index(tuple((voxels - low).T), tuple(size))
    order = np.argsort(flat, kind="stable")
    pairs = []
    for step in _FACES:
        near = np.ravel_multi_index(tuple((voxels - low + step).T), tuple(size))
        at = np.minimum(np.searchsorted(flat[order], near), len(flat) - 1)
        found = order[at]
        touches = flat[found] == near
        pairs.append(np.stack([np.flatnonzero(touches), found[touches]], axis=1))
    return _graph(np.concatenate(pairs), voxels @ affine[:3, :3].T + affine[:3, 3])


def _graph(pairs: npt.NDArray[np.int64], points: npt.NDArray[np.float64]) -> Any:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(points)

    def built(pairs: npt.NDArray[np.int64]) -> Any:
        pairs = np.unique(np.sort(pairs, axis=1), axis=0).reshape(-1, 2)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        length = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
        # no edge of length 0, which a sparse graph does not have
        length = np.maximum(np.rint(length * _UNITS_PER_MM), 1)
        both = np.concatenate([pairs, pairs[:, ::-1]])
        values = np.concatenate([length, length])
        return coo_array((values, (both[:, 0], both[:, 1])), shape=(count, count)).tocsr()

    graph = built(pairs)
    parts, label = connected_components(graph, directed=False)
    if parts == 1:
        return graph
    return built(np.concatenate([pairs, _bridges(points, label)]))


def _bridges(
    points: npt.NDArray[np.float64], label: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    """Return an edge from every part to the nearest point of the largest."""
    from scipy.spatial import cKDTree

    largest = int(np.argmax(np.bincount(label)))
    main = np.flatnonzero(label == largest)
    others = np.flatnonzero(label != largest)
    distance, nearest = cKDTree(points[main]).query(points[others])
    order = np.lexsort((others, distance))
    _, first = np.unique(label[others][order], return_index=True)
    chosen = order[first]
    return np.stack([others[chosen], main[nearest[chosen]]], axis=1)


def patches_of(graph: Any, size: int) -> list[npt.NDArray[np.int64]]:
    """Cut a connected graph into connected patches with at most `size` locations.

    Parameters
    ----------
    graph : csr_array, (V, V)
        From :func:`surface_graph` or :func:`voxel_graph`.
    size : int

    Returns
    -------
    list of ndarray of int64
        Locations of each patch, ascending; about ``V / size`` patches. The first patches are
        neighbours of each other, as are the last.

    Raises
    ------
    InputError
        `size` is not positive.
    """
    if size < 1:
        raise InputError(f"patches_of: size must be 1 or more, got {size}.")
    found: list[npt.NDArray[np.int64]] = []
    open_sets = [(np.arange(graph.shape[0]), graph)]
    while open_sets:
        members, inner = open_sets.pop()
        if len(members) <= size:
            found.append(members)
            continue
        count = -(-len(members) // size)
        first = _first_part(inner, round(len(members) * (count // 2) / count))
        for part in (np.flatnonzero(~first), np.flatnonzero(first)):
            open_sets.append((members[part], inner[part][:, part]))
    return found


def _first_part(graph: Any, cut: int) -> npt.NDArray[np.bool_]:
    """Cut a connected graph into two connected parts; mark the first, of `cut` or a few more."""
    from scipy.sparse.csgraph import connected_components, dijkstra

    start = int(np.argmax(dijkstra(graph, indices=0)))
    one = dijkstra(graph, indices=start)
    end = int(np.argmax(one))
    other = dijkstra(graph, indices=end)
    order = np.lexsort((np.arange(len(one)), one, one - other))
    first = np.ones(len(one), dtype=bool)
    rest = np.sort(order[cut:])
    _, label = connected_components(graph[rest][:, rest], directed=False)
    first[rest[label == label[np.searchsorted(rest, end)]]] = False
    return first
