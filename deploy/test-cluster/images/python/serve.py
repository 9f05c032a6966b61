# The scikit-learn model server: KServe's own server (V1 and V2, REST) around the estimator in --model_dir.
import argparse
import pathlib

import joblib
from kserve import Model, ModelServer, model_server
from kserve.utils.utils import get_predict_input, get_predict_response


class Estimator(Model):
    def __init__(self, name, folder):
        super().__init__(name)
        self.folder = pathlib.Path(folder)
        self.load()

    def load(self):
        files = sorted(self.folder.glob("*.joblib")) + sorted(self.folder.glob("*.pkl"))
        self.estimator = joblib.load(files[0])
        self.ready = True
        return True

    def predict(self, payload, headers=None):
        return get_predict_response(payload, self.estimator.predict(get_predict_input(payload)), self.name)


parser = argparse.ArgumentParser(parents=[model_server.parser])
parser.add_argument("--model_dir", default="/mnt/models")
arguments, _ = parser.parse_known_args()
ModelServer().start([Estimator(arguments.model_name, arguments.model_dir)])
