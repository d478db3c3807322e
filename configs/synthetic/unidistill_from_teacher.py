# unidistill_lidar_to_camera.py, the student beginning with the teacher's bird's-eye-view encoder and head. The demo's.
_base_ = "./unidistill_lidar_to_camera.py"

model = dict(init_from_teacher=dict(bev_encoder="bev_encoder", head="head"))
