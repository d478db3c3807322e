# lidar_teacher.py with pillars of 1 m in place of 0.5 m: the compact student of the pillar family.
_base_ = "./lidar_teacher.py"

model = dict(lidar_encoder=dict(downsample=1))
