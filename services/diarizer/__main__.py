"""`python -m services.diarizer`"""

from chassis.service import main
from services.diarizer.app import serve

main({"diarizer": serve})
