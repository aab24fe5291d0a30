"""`python -m services.exporter`"""

from chassis.service import main
from services.exporter.app import serve

main({"exporter": serve})
