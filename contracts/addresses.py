"""Which addresses a recording may be fetched from: the form of what a user gives, and the judgement on where it leads.

Pure: nothing here resolves or connects. The gateway judges the form; the fetcher judges again, each IP address that a
name leads to, just before it connects to that very one (docs/adr/0008).
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import quote, unquote

import idna
import msgspec

from contracts.filenames import clean_filename

LENGTH_MAX = 2048
"""Characters of an address."""
_HOST_MAX = 253
_PORT_MAX = 65535
_DEFAULT_PORTS = {"http": 80, "https": 443}

_SHAPE = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?"
)
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{0,5}))?")
_NOT_IN_AN_ADDRESS = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\ud800-\udfff]")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network


class Malformed(ValueError):
    """It is no address that we could fetch from; the message is a sentence for its author."""


class Forbidden(ValueError):
    """It leads where we do not go; the message says why, to the operator."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where to ask for what. There is one way only to read it: the parts are never parsed again."""

    scheme: str
    host: str
    """ASCII, lower case, without a dot at its end; an IPv6 address without brackets."""
    port: int
    target: str
    """Path and query, as they are sent."""

    @property
    def ip(self) -> IpAddress | None:
        """The host, where it is no name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Host and, where it is not the usual one, port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address in the one form that equal addresses have."""
        return f"{self.scheme}://{self.authority}{self.target}"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What may be fetched (environment: SUBTIDE_FETCHER_<NAME>); the gateway and the fetcher read the same."""

    enabled: bool = True
    """Whether a job may name an address at all."""
    allow: str = ""
    """Host names and networks, by comma, that may be fetched from whatever they are, on any port: for an intranet."""
    ports: str = "80,443"
    """Ports, by comma, that may be connected to elsewhere."""
    max_bytes: int = 2 << 30
    """Largest recording."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ValueError("`max_bytes` must be positive")
        for port in self.ports.split(","):
            if not port.strip().isdecimal() or not 1 <= int(port) <= _PORT_MAX:
                raise ValueError("`ports` must be numbers between 1 and 65535, by comma")
        for entry in _entries(self.allow):
            try:
                _network(entry)
            except ValueError:
                if "/" in entry or _number_like(entry) or not _is_name(entry):
                    raise ValueError(f"`allow` has {entry!r}, which is neither a host name nor a network") from None

    def allows_host(self, host: str) -> bool:
        """Whether the operator named the host, so that it may be anywhere."""
        return host in _entries(self.allow)

    def allows_ip(self, ip: IpAddress) -> bool:
        """Whether the operator named a network that the address is in."""
        for entry in _entries(self.allow):
            try:
                network = _network(entry)
            except ValueError:
                continue
            if ip.version == network.version and ip in network:
                return True
        return False

    @property
    def names_networks(self) -> bool:
        """Whether a name may lead to an IP address that the operator named."""
        return any(not _is_name(entry) or _number_like(entry) for entry in _entries(self.allow))

    def allows_port(self, port: int) -> bool:
        """Whether a port may be connected to on a host that nobody named."""
        return port in {int(one) for one in self.ports.split(",")}


def parse(text: str) -> Address:
    """The parts of an http(s) address. Raises Malformed on whatever two readers could read in two ways."""
    if len(text) > LENGTH_MAX:
        raise Malformed(f"The address has {len(text):,} characters; it may have {LENGTH_MAX:,}.")
    if _NOT_IN_AN_ADDRESS.search(text):
        raise Malformed("The address has a space, a line break, a control character or a backslash.")
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        raise Malformed("The address is not of the form https://host/path.")
    scheme = shape["scheme"].lower()
    if scheme not in _DEFAULT_PORTS:
        raise Malformed(f"The address begins with {scheme[:20]}; it must begin with http or https.")
    if "@" in shape["authority"]:
        raise Malformed("The address has a user name or a password; that is not accepted.")
    authority = _AUTHORITY.fullmatch(shape["authority"])
    if authority is None:
        raise Malformed("The host or the port of the address cannot be read.")
    port = int(authority["port"] or _DEFAULT_PORTS[scheme])
    if not 1 <= port <= _PORT_MAX:
        raise Malformed(f"The address has the port {port}; ports are 1 to {_PORT_MAX}.")
    query = f"?{shape['query']}" if shape["query"] is not None else ""
    target = quote((shape["path"] or "/") + query, safe="/?%:@!$&'()*+,;=~-._[]")
    return Address(scheme=scheme, host=_host(authority["host"]), port=port, target=target)


def filename(address: Address) -> str:
    """What a recording is called as long as its server has not said: the last part of the path, else the host."""
    last = unquote(address.target.partition("?")[0].rpartition("/")[2])
    return clean_filename(last or address.host)


def check(address: Address, rules: Rules) -> None:
    """Judge an address by its form alone. Raises Forbidden."""
    if rules.allows_host(address.host):
        return
    ip = address.ip
    if ip is not None:
        check_ip(ip, address, rules)
        return
    if address.host == "localhost" or address.host.endswith(".localhost"):
        raise Forbidden("the name of this machine")
    if not rules.allows_port(address.port) and not rules.names_networks:
        raise Forbidden(f"port {address.port}")


def check_ip(ip: IpAddress, address: Address, rules: Rules) -> None:
    """Judge an IP address that an address leads to. Raises Forbidden."""
    if rules.allows_host(address.host) or rules.allows_ip(ip):
        return
    if (reason := judged(ip)) is not None:
        raise Forbidden(reason)
    if not rules.allows_port(address.port):
        raise Forbidden(f"port {address.port}")


def judged(ip: IpAddress) -> str | None:
    """Why nothing is fetched from an IP address; None for one that anybody in the world could reach.

    The tables are IANA's special-purpose registries. An IPv6 address that carries an IPv4 one is judged by what it
    carries, or not at all where the way of carrying is out of use.
    """
    if isinstance(ip, IPv4Address):
        return next((reason for network, reason in _SPECIAL_V4 if ip in network), None)
    if ip.scope_id is not None:
        return "a zone of this machine"
    if ip.ipv4_mapped is not None:
        return judged(ip.ipv4_mapped)
    if ip in _NAT64:
        return judged(IPv4Address(int(ip) & 0xFFFFFFFF))
    if (reason := next((reason for network, reason in _SPECIAL_V6 if ip in network), None)) is not None:
        return reason
    return None if ip in _GLOBAL_UNICAST else "not a public address"


def _host(given: str) -> str:
    """The one form of a host. Raises Malformed."""
    if given.startswith("["):
        try:
            ip = IPv6Address(given[1:-1])
        except ValueError:
            raise Malformed("The host of the address is no IPv6 address.") from None
        if ip.scope_id is not None:
            raise Malformed("The host of the address has a zone.")
        return str(ip)
    if "%" in given:
        raise Malformed("The host of the address has a percent sign.")
    host = given
    if not given.isascii():
        try:
            host = idna.encode(given, uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            raise Malformed("The host of the address is no name that could be looked up.") from None
    host = host.lower().removesuffix(".")
    if _number_like(host):
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise Malformed("Write an IP address as four decimal numbers with dots.") from None
    if not _is_name(host):
        raise Malformed("The address has no host, or one that is no name that could be looked up.")
    return host


def _number_like(host: str) -> bool:
    """Whether some resolver could take it for an IPv4 address, in whatever base and with however many parts."""
    return _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def _is_name(host: str) -> bool:
    return 0 < len(host) <= _HOST_MAX and all(_LABEL.fullmatch(label) for label in host.split("."))


def _entries(allow: str) -> list[str]:
    return [entry.strip().lower() for entry in allow.split(",") if entry.strip()]


def _network(entry: str) -> IpNetwork:
    return ip_network(entry.strip("[]"), strict=False)


_SPECIAL_V4 = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "a private network"),
        ("100.64.0.0/10", "a provider's own network"),
        ("127.0.0.0/8", "this machine"),
        ("168.63.129.16/32", "the host of a machine at Azure"),
        ("169.254.0.0/16", "a link-local network"),
        ("172.16.0.0/12", "a private network"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "for documentation"),
        ("192.31.196.0/24", "a sink for reverse look-ups"),
        ("192.52.193.0/24", "for relays of multicast"),
        ("192.88.99.0/24", "for relays of 6to4"),
        ("192.168.0.0/16", "a private network"),
        ("192.175.48.0/24", "a sink for reverse look-ups"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_SPECIAL_V6 = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("2001::/23", "reserved for protocols, Teredo among them"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "a sink for reverse look-ups"),
        ("3fff::/20", "for documentation"),
        ("fc00::/7", "a private network"),
        ("fe80::/10", "a link-local network"),
        ("fec0::/10", "a private network"),
        ("ff00::/8", "multicast"),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that was ever given out; loopback, unspecified, IPv4-compatible and local NAT64 addresses are outside."""
