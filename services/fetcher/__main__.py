"""`python -m services.fetcher`"""

from chassis.service import main
from services.fetcher.app import serve

main({"fetcher": serve})
