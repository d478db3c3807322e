# Both sides of mmdet3d, neither edited: CenterPoint on voxels of 0.1 m teaches CenterPoint on pillars of 0.2 m. Data,
# classes and schedule are mmdet3d's. Both heads lie on cells of 0.8 m; the pillars enter their backbone on finer ones,
# so the feature loss is left out, and the neck's map is widened from 384 to the teacher's 512 channels.
_base_ = "mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py"

taps = dict(high="pts_neck", head="pts_bbox_head")
grid = dict(x_range=(-51.2, 51.2), y_range=(-51.2, 51.2), cell=0.8)
model = dict(
    _delete_=True,
    type="Distiller",
    student={{_base_.model}},
    taps=taps,
    grid=grid,
    teacher=dict(
        type="LiveTeacher",
        config="mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_head-circlenms_8xb4-cyclic-20e_nus-3d.py",
        checkpoint="checkpoints/"
        "centerpoint_01voxel_second_secfpn_circlenms_4x8_cyclic_20e_nus_20220810_030004-9061688e.pth",
        taps=taps,
        grid=grid,
    ),
    methods=dict(
        unidistill=dict(type="UniDistill", feature=0.0, relation=40.0, response=10.0, adapters=dict(high=(384, 512)))
    ),
)
