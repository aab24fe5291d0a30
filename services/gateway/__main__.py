"""`python -m services.gateway`"""

from chassis.service import main
from services.gateway.app import serve

main({"gateway": serve})
