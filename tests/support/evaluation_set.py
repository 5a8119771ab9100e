"""Items of an evaluation set, what a model says of them, and texts that have none of them."""

ITEMS = [
    (
        "Natalia sold 48 clips to her friends in April, and then she sold half as many clips in "
        "May. How many clips did Natalia sell altogether in April and May?"
    ),
    (
        "A train leaves the city at nine in the morning and travels at sixty miles an hour. When "
        "does it reach the coast, which is two hundred and ten miles away?"
    ),
    "Which planet of the solar system has the longest day, and how long is it in hours?",
    (
        "Write a function that takes a list of words and returns the longest palindrome among "
        "them, or an empty string if there is none."
    ),
    (
        "Betty is saving money for a new wallet which costs a hundred dollars. Her parents give "
        "her fifteen dollars, and her grandparents twice as much. How much more does she need?"
    ),
    "What is the boiling point of water at the top of a mountain four kilometres high?",
]


CLEAN = [
    "How do I keep my sourdough starter alive while I travel for two weeks in summer?",
    "My cat hides under the bed whenever a train passes by. How can I calm her down?",
    "Write a short letter to my landlord about the broken boiler, polite but firm.",
    "Which herbs grow well on a balcony that gets sun only in the morning?",
    "Natalia wants to learn the violin at forty. Is that too late?",
    "Explain in simple words how a savings account differs from a fund.",
]


SAID = (
    "In April, Natalia sold 48 clips to friends; in May she sold half as many. Altogether, how "
    "many clips has Natalia sold in both months?"
)
"""The first item in other words."""
