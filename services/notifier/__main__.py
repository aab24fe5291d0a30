"""`python -m services.notifier`"""

from chassis.service import main
from services.notifier.app import serve

main({"notifier": serve})
