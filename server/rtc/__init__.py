"""WebRTC: SDP, ICE, peers, data channel, and the adaptor to aiortc."""
