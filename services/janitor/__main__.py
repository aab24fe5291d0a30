"""`python -m services.janitor`"""

from chassis.service import main
from services.janitor.app import serve

main({"janitor": serve})
