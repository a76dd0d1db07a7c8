"""A session, in four rooms that import each other only in this order.

``members`` knows which engine is which rank, and asks them; ``group`` makes, adopts and repairs the
process group; ``cells`` runs cells, watches them, and settles what they leave; ``live`` looks at a
session periodically, for a dashboard. ``session`` is the facade over them.
"""
