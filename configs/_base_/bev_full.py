# What the full-size teacher and student share. Sizes of UniDistill (Zhou et al., CVPR 2023): a grid of 180 x 180 cells
# of 0.6 m, 256 channels into the bird's-eye-view encoder and 512 out of it.
model = dict(
    type="BEVDetector",
    grid=dict(x_range=(-54.0, 54.0), y_range=(-54.0, 54.0), cell=0.6),
    bev_encoder=dict(
        type="BEVEncoder",
        backbone=dict(type="SECOND", out_channels=[128, 256], layer_nums=[5, 5], layer_strides=[1, 2]),
        neck=dict(type="SECONDFPN", in_channels=[128, 256], out_channels=[256, 256], upsample_strides=[1, 2]),
    ),
    head=dict(type="CenterHead", bbox_coder=dict(max_num=500), test_cfg=dict(nms_type="rotate")),
)
