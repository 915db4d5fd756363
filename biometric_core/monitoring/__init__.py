"""Has a sensor drifted?"""
