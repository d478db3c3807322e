# RDD's CP-Voxel-XXS (Li et al., ICCV 2023): half of the encoder's channels, a quarter of those behind it.
_base_ = "./voxel_nuscenes.py"

model = dict(
    lidar_encoder=dict(width=0.5),
    bev_encoder=dict(backbone=dict(out_channels=[32, 64]), neck=dict(in_channels=[32, 64], out_channels=[64, 64])),
    head=dict(
        share_conv_channel=16,
        separate_head=dict(type="SeparateHead", init_bias=-2.19, final_kernel=3, head_conv=16),
    ),
)
