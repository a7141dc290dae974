import platform

from flask import Flask

application = Flask(__name__)


@application.route("/")
def hello():
    return f"Hello from Python {platform.python_version()} on {platform.node()}\n"
