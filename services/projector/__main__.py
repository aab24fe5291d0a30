"""`python -m services.projector`"""

from chassis.service import main
from services.projector.app import serve

main({"projector": serve})
