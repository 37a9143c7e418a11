"""The main job on real input: two workers learn from a topic, a follower scores with what they publish."""
