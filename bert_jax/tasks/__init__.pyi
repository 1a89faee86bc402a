from .answer_task import QuestionAnswering as QuestionAnswering
from .choice_task import MultipleChoice as MultipleChoice
from .finetuner import Finetuner as Finetuner
from .finetuner import assemble_finetuner as assemble_finetuner
from .tag_task import Tagging as Tagging
from .text_tasks import Classification as Classification
from .text_tasks import Regression as Regression
from .text_tasks import TextExample as TextExample
