#!/usr/bin/env python3
"""Switches offloading off for one network interface: offload.py INTERFACE.

A relay that copies frames needs checksums that are filled in and segments as
long as they are on a wire. Both are left to the network card as a rule, and
veth pairs have none. Python's library has no call for it, and ethtool is not
everywhere.
"""

import ctypes
import fcntl
import socket
import struct
import sys

SIOCETHTOOL = 0x8946
# Checksums, TCP segmentation, generic segmentation, of what is sent.
SWITCHES = (0x17, 0x1F, 0x24)


def main(interface):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for switch in SWITCHES:
            value = ctypes.create_string_buffer(struct.pack("=II", switch, 0))
            request = struct.pack("=16sQ8x", interface.encode(), ctypes.addressof(value))
            fcntl.ioctl(any_socket, SIOCETHTOOL, request)


if __name__ == "__main__":
    main(sys.argv[1])
