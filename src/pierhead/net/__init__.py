"""Networks of containers: addresses, links, rules of the firewall, published ports."""
