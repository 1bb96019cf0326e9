"""Sending a session to media servers, by WHIP or RTMP."""
