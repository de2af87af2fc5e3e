"""The page. Imports from every other module; none of them imports from here."""
