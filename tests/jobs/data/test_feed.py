from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs.config import RunConfig
from jobs.data.feed import Batches, evaluation_batches, training_batches
from jobs.distributed import Tasks


def bounds(batches: Batches, batch: int) -> list[tuple[int, int]]:
    return [(part.start, part.stop) for part in batches.parts_of(batch)]


@given(st.integers(2, 300), st.integers(2, 64), st.integers(1, 4), st.integers(1, 4))
def test_all_parts_together_are_every_image_once_in_order(
    images: int, size: int, world: int, accumulate: int
) -> None:
    size = max(size, 2 * accumulate * world)
    config = RunConfig(model="resnet18", batch_size=size, accumulate_steps=accumulate, gpus=world)
    for cut, lone in ((training_batches, images % size == 1), (evaluation_batches, False)):
        tasks = [cut(config, images, Tasks(rank, world)) for rank in range(world)]
        covered = [
            place
            for batch in range(len(tasks[0]))
            for part in sorted(part for task in tasks for part in bounds(task, batch))
            for place in range(*part)
        ]
        assert covered == list(range(images - lone))


@given(st.integers(2, 64), st.integers(2, 4), st.integers(1, 4))
def test_what_all_tasks_see_at_once_does_not_depend_on_their_number(
    images: int, world: int, accumulate: int
) -> None:
    """So that batch norm over all of them does not either."""
    alone = bounds(Batches(images, images, parts=accumulate), 0)
    tasks = [bounds(Batches(images, images, Tasks(r, world), accumulate), 0) for r in range(world)]
    for begin, end in alone:
        pieces = sorted(piece for task in tasks for piece in task if begin <= piece[0] < end)
        assert [pieces[0][0], pieces[-1][1]] == [begin, end]
        assert [stop for _, stop in pieces[:-1]] == [start for start, _ in pieces[1:]]
    if images >= 2 * world * accumulate:
        assert {len(task) for task in tasks} == {accumulate}


@given(st.integers(2, 300), st.integers(1, 40))
def test_parts_in_training_are_no_single_images_and_keep_pairs_together(
    images: int, parts: int
) -> None:
    cut = Batches(images, images, parts=parts).parts_of(0)
    sizes = [part.stop - part.start for part in cut]
    assert min(sizes) >= 2
    assert max(sizes) - min(sizes) <= 3
    assert all(part.start % 2 == 0 for part in cut)
    assert len(cut) == min(parts, images // 2)


def test_a_task_for_which_a_batch_has_no_images_has_no_part() -> None:
    last = Batches(10, 8, Tasks(3, 4))
    assert last.parts_of(0) == [slice(6, 8)]
    assert last.parts_of(1) == []
