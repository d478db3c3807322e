# RDD's CP-Voxel-S (Li et al., ICCV 2023): half the channels behind the encoder.
_base_ = "./voxel_nuscenes.py"

model = dict(
    bev_encoder=dict(backbone=dict(out_channels=[64, 128]), neck=dict(in_channels=[64, 128], out_channels=[128, 128])),
    head=dict(
        share_conv_channel=32,
        separate_head=dict(type="SeparateHead", init_bias=-2.19, final_kernel=3, head_conv=32),
    ),
)
