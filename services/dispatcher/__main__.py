"""`python -m services.dispatcher`"""

from chassis.service import main
from services.dispatcher.app import serve

main({"dispatcher": serve})
