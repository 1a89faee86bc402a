from .contents import Pretrained as Pretrained
from .google_tf import load_google as load_google
from .google_tf import save_google as save_google
from .huggingface import load_huggingface as load_huggingface
from .huggingface import save_huggingface as save_huggingface
from .ours import load_ours as load_ours
from .ours import save_ours as save_ours
from .pretrained import load_pretrained as load_pretrained
