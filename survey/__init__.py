"""People answer, answers become statistics and charts.

Imports of kfer only its light side: labels, photos, metrics, errors, files and version. The
recogniser comes in as a plain function; no module but ``survey.cli`` loads torch.
"""
