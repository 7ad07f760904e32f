"""The app: what a run found, in a browser. It reads results/ and writes nothing."""
