# RDD's CP-Pillar-v0.4 (Li et al., ICCV 2023): pillar032_nuscenes.py with larger pillars and nothing else changed.
_base_ = "./pillar032_nuscenes.py"

model = dict(grid=dict(cell=0.40))
