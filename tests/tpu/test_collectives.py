"""What devices send, counted in a program small enough to count by hand."""

import pytest

from aura.tpu.collectives import Traffic, traffic

PROGRAM = """HloModule step

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%start (p: bf16[1,64]) -> bf16[4,64] {
  %all-gather.1 = bf16[4,64]{1,0} all-gather(%p), channel_id=7, replica_groups=[2,4]<=[8], dimensions={0}
}

%end (p: bf16[1,64]) -> bf16[4,64] {
  %all-gather.2 = bf16[4,64]{1,0} all-gather(%p), channel_id=7, replica_groups=[2,4]<=[8], dimensions={0}
}

%all-reduce-scatter.1 (p: bf16[30,64]) -> bf16[8,64] {
  %all-reduce.1 = bf16[32,64]{1,0} all-reduce(%pad), channel_id=9, replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  ROOT %part = bf16[8,64]{1,0} dynamic-slice(%all-reduce.1, %i)
}

%condition (state: (s32[], f32[8])) -> pred[] {
  %constant.1 = s32[]{:T(128)} constant(12)
  ROOT %lt = pred[] compare(%i, %constant.1), direction=LT
}

%body (state: (s32[], f32[8])) -> (s32[], f32[8]) {
  %f1 = bf16[4,64] fusion(%w), kind=kCustom, calls=%start
  %f2 = bf16[4,64] fusion(%w), kind=kCustom, calls=%end
  %f3 = bf16[8,64]{1,0} fusion(%g), kind=kCustom, calls=%all-reduce-scatter.1
  %none = f32[8]{0} all-reduce(%x), channel_id=1, replica_groups={{0},{1}}, to_apply=%add
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %while.1 = (s32[], f32[8]) while(%t), condition=%condition, body=%body
  %r = (f32[100]{0}, bf16[100]{0}) all-reduce(%x, %y), replica_groups=mesh['a'=2,'b'=4] {'b'}, to_apply=%add
  %g = f32[100]{0} all-gather(%x), replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}, dimensions={0}
  %s = f32[10]{0} reduce-scatter(%x), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
}
"""


def test_sizes_follow_the_rings_and_loops_count_as_often_as_they_run():
    assert traffic(PROGRAM) == [
        Traffic("all-gather", 13, pytest.approx(12 * 4 * 64 * 2 * 3 / 4 + 400 * 3 / 4)),
        Traffic("all-reduce", 1, pytest.approx((400 + 200) * 2 * 3 / 4)),
        Traffic("reduce-scatter", 13, pytest.approx(40 * 3 + 12 * 32 * 64 * 2 * 3 / 4)),
    ]
