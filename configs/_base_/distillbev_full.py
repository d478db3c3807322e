# DistillBEV's levels where teacher and student have the encoder of bev_full.py: the second stage and what leaves the
# neck. The stage at full resolution is left out, as in the paper. Weights are those of the paper's BEVDepth scripts.
taps = dict(stage1="bev_encoder.backbone.blocks.1", high="bev_encoder", head="head")
distillbev = dict(
    type="DistillBEV",
    levels=dict(
        stage1=dict(channels=(256, 256), layers=3),
        high=dict(channels=(512, 512), false_positive=True),
    ),
)
