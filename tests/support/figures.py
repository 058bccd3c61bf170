"""The figures of the documents: SVG, equal for equal numbers."""


def styled_pyplot(font_size=9):
    """matplotlib.pyplot with the look of the documents; Debian's python3-matplotlib."""
    import matplotlib  # only who draws needs it
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "memgate", "font.size": font_size, "axes.spines.top": False,
                                "axes.spines.right": False, "legend.frameon": False})
    from matplotlib import pyplot
    return pyplot


def save(figure, path):
    from matplotlib import pyplot
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
