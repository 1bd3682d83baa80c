"""How does a collection run from config to dataset?"""
