"""Where captures come from: a folder or zip, an object store, Kaggle, the generator."""
