# RDD's CP-Voxel-XS (Li et al., ICCV 2023): three quarters of the encoder's channels, half of those behind it.
_base_ = "./voxel_nuscenes.py"

model = dict(
    lidar_encoder=dict(width=0.75),
    bev_encoder=dict(backbone=dict(out_channels=[64, 128]), neck=dict(in_channels=[64, 128], out_channels=[128, 128])),
    head=dict(
        share_conv_channel=32,
        separate_head=dict(type="SeparateHead", init_bias=-2.19, final_kernel=3, head_conv=32),
    ),
)
