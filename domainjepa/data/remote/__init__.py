"""Data far away: URLs of object stores and web servers, kept near as far as room is given."""
