"""`python -m services.transcriber`"""

from chassis.service import main
from services.transcriber.app import serve

main({"transcriber": serve})
