# DistillBEV's levels where teacher and student have the encoder of bev_small.py: two stages and what leaves the neck.
# The stage at full resolution is left out, as in the paper. Weights are a fifth of those of the BEVDepth scripts, with
# which the losses would be three times the detection loss here: see configs/compare/bench.py.
taps = dict(
    stage1="bev_encoder.backbone.blocks.1",
    stage2="bev_encoder.backbone.blocks.2",
    high="bev_encoder",
    head="head",
)
distillbev = dict(
    type="DistillBEV",
    levels=dict(
        stage1=dict(channels=(64, 64), layers=3),
        stage2=dict(channels=(128, 128), layers=3),
        high=dict(channels=(96, 96), false_positive=True),
    ),
    foreground=1.2e-3,
    background=8e-3,
    false_positive=1.2e-2,
    spatial=5e-4,
)
