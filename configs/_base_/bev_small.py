# What the small teacher and student share: the grid, the bird's-eye-view encoder and the head.
norm_cfg = dict(type="BN", eps=1e-3, momentum=0.1)  # short trainings need fast running statistics
model = dict(
    type="BEVDetector",
    grid=dict(x_range=(-40.0, 40.0), y_range=(-40.0, 40.0), cell=1.0),
    bev_encoder=dict(
        type="BEVEncoder",
        backbone=dict(
            type="SECOND",
            out_channels=[32, 64, 128],
            layer_nums=[1, 3, 3],
            layer_strides=[1, 2, 2],
            norm_cfg=norm_cfg,
        ),
        neck=dict(
            type="SECONDFPN",
            in_channels=[32, 64, 128],
            out_channels=[32, 32, 32],
            upsample_strides=[1, 2, 4],
            norm_cfg=norm_cfg,
        ),
    ),
    head=dict(type="SlimCenterHead", share_conv_channel=32, norm_cfg=norm_cfg),
)
