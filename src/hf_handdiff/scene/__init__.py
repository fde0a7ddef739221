"""All hands of one photo in one camera frame: sizes that agree, and no hand inside another.

`hands` makes the scene, `candidates` says what each hand may be and how likely, `contact` chooses among pairs of them
where two hands run into each other, `penetration` tells how deep they do.
"""

from hf_handdiff.scene.hands import HandScene, SceneContact, SceneHand, make_scene, predict_scene

__all__ = ["HandScene", "SceneContact", "SceneHand", "make_scene", "predict_scene"]
