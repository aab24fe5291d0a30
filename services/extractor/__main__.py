"""`python -m services.extractor`"""

from chassis.service import main
from services.extractor.app import serve

main({"extractor": serve})
